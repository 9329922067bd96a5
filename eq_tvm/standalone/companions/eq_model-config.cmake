# find_package(eq_model) with eq_model_DIR set to this directory; then target_link_libraries(app eq_model::eq_model)
if(NOT TARGET eq_model::eq_model)
    add_library(eq_model::eq_model SHARED IMPORTED)
    set_target_properties(eq_model::eq_model PROPERTIES
        IMPORTED_LOCATION "${CMAKE_CURRENT_LIST_DIR}/lib@library@.so"
        IMPORTED_SONAME "lib@library@.so"
        INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}")
endif()
